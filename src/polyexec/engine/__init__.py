<<<<<<< HEAD
"""From the exchange's market feed to signals."""
=======
"""The market engine: from the exchange's markets and feed to signals."""
>>>>>>> e-groups
