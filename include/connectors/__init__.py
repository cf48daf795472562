"""How partner APIs are read - kernel and one folder per connector."""
