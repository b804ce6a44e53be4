"""Being a service of the user: the units and their installation."""
