"""Sans-I/O codecs and protocol machines: bytes to messages and back."""
