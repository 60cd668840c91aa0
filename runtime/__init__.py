"""The native library: codecs in C++, called through ctypes."""
