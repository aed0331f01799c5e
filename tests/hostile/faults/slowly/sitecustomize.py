"""Makes the steps and the checkpoints of a training process take time; numbers stay the same."""

import os
import sys
import time
from typing import Any

# of other processes this would load torch for nothing
if os.environ.get("SLOW_STEP_S") and "train" in sys.orig_argv:
    from opensora.training import loop
    from opensora.training.state import saver

    _step, _write = loop.train_step, saver.write_files

    def _slow_step(*arguments: Any, **keywords: Any) -> Any:
        time.sleep(float(os.environ["SLOW_STEP_S"]))
        return _step(*arguments, **keywords)

    def _slow_write(*arguments: Any, **keywords: Any) -> Any:
        time.sleep(float(os.environ["SLOW_WRITE_S"]))
        return _write(*arguments, **keywords)

    loop.train_step, saver.write_files = _slow_step, _slow_write
