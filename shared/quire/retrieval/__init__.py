"""Finding: by meaning, by words, by filter; and results that can be paged."""
