"""Why a model says what it says: relevance of channels and pixels, where channels look, and figures of it."""
