"""The statistics of predictions: metrics, intervals, comparisons and gates, without torch."""
