"""Checkpoints every so many iterations."""

import os
import re
from typing import Any

import fvcore.common.checkpoint


class PeriodicCheckpointer(fvcore.common.checkpoint.PeriodicCheckpointer):
    """Saves `<file_prefix>_<iteration>.pth` every `period` iterations, and `<file_prefix>_final.pth` at `max_iter`.

    max_to_keep: so many of the newest are kept, of a resumed run those from before counted; None keeps all.
    """

    _has_looked_back = False

    def step(self, iteration: int, **kwargs: Any) -> None:
        """To be called with every iteration, from 0. kwargs: further entries of the checkpoint."""
        if self.max_to_keep is not None and not self._has_looked_back:
            self._has_looked_back = True
            self.recent_checkpoints[:0] = self._checkpoints_before(int(iteration))
        super().step(iteration, **kwargs)
        has_saved = (int(iteration) + 1) % self.period == 0
        while has_saved and self.max_to_keep is not None and len(self.recent_checkpoints) > self.max_to_keep:
            oldest = self.recent_checkpoints.pop(0)
            if self.path_manager.exists(oldest):
                self.path_manager.rm(oldest)

    def _checkpoints_before(self, iteration: int) -> list[str]:
        """Earlier ones of the run that is resumed at `iteration`; a run that begins anew owns none of the files."""
        if not self.checkpointer.has_checkpoint():
            return []
        pattern = re.compile(rf"{re.escape(self.file_prefix)}_(\d{{7,}})\.pth")
        found = []
        for path in self.checkpointer.get_all_checkpoint_files():
            match = pattern.fullmatch(os.path.basename(path))
            if match and int(match[1]) < iteration:
                found.append((int(match[1]), path))
        return [path for _, path in sorted(found)]
