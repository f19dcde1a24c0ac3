"""Whether somebody speaks, or whether there is any sound: detectors of frames, and what feeds them."""
