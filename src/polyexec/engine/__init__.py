"""The market engine: from the exchange's markets and feed to signals."""
