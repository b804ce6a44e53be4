"""Today's devices understand those of earlier versions: pinned transcripts, and real older daemons."""
