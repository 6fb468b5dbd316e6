"""Task definitions for the harnesses; the hash of a definition's file goes into every record it makes."""
