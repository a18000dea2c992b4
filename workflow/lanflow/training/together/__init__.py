"""Several trainings at once: networks of one shape and data set as one program on a GPU."""
