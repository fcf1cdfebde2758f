//! Captures as inputs of the pipeline.
