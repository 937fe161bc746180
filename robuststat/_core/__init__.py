"""What every family shares: intake, moments, variances, cross-fitting, streaming."""
