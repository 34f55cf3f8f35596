"""Public centers from their archives: resumed, verified, unpacked safely, never fetched twice."""
