"""The sections of a report, each made from `s1x.report.inputs.Inputs`."""
