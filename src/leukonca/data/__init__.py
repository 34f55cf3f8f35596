"""Image files in, arrays out: centers, cache, splits, synthetic cells, sampling, augmentation."""
