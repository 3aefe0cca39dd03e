"""The recorded outputs of the official clients, in both implementations."""
