"""Every price, tick and size of the amounts grid: ``make exhaustive``."""
