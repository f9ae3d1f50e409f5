"""Where CGRU's group node is."""
