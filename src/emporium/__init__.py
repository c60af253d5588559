"""Emporium: a commerce and loyalty backend, module by module, on the Portico kernel."""
