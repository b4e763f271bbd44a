//! audio_file: to come in the next commit.
