"""The journal on disk: what we were about to send, kept before it is sent."""
