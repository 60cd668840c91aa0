"""What real inputs tell about a model: samples, what flows into its weights, and how far outputs have moved."""
