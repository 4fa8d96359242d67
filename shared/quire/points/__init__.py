"""Points as pipelines bring and take them, and which of a collection's points are to be seen."""
