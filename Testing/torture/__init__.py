"""How the tool behaves under bad input, faults and hostile files: ``make torture`` runs it all and prints a table."""
