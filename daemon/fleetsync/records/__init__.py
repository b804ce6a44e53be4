"""What mur writes: records, names and times, read and written exactly. Pure."""
