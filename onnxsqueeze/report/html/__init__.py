"""Reports as one HTML file each: nothing is fetched, and whatever comes from a model is escaped."""
