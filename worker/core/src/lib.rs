//! The worker without Python.
