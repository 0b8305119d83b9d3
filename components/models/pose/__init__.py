"""Human pose."""
