"""Parts of the result object: tables, intervals, restrictions, export."""
