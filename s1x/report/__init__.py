"""Reports that people read and summaries that scripts read, from evaluation rows only.

    from s1x import report
    report.run(context, evaluations, selection, training, folder)

Trackers (`none`, `wandb`, `tensorboard`) are this package's options.
"""

from s1x.report.write import console_table, run

__all__ = ["console_table", "run"]
