"""The four families, one file each, in the order of their papers: prompt, ask, read, combine."""
