"""From a data set's images to batches of views: decoded in every epoch, or once."""
