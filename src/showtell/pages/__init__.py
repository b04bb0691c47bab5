"""What pages are made of: a frame, charts, small pictures. It knows no record and no classifier."""
