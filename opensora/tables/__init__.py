"""Tables: the only place for column names, and the only reader and writer."""
