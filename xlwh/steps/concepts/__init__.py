"""Words' vectors, concepts and what they are compared by."""
