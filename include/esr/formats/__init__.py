"""ESR's file formats as data, and the one reader and the one writer that work from them."""
