"""From the exchange's market feed to signals."""
