#!/usr/bin/env python
"""The training of train_net.py as one readable loop, without trainer and hooks.

A place to start from where a training does something else in its loop.
"""

import importlib.util
import logging
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.engine import check_arguments, config_from_arguments, default_argument_parser
from det2lite.engine.launch import launch_as_asked
from det2lite.utils.errors import BadValue, exit_on_user_error

logger = logging.getLogger("det2lite.plain_train_net")


def evaluate(cfg, model):
    """Evaluates on each of DATASETS.TEST. Returns {data set: {task: {metric: value}}}."""
    from det2lite.data import build_detection_test_loader
    from det2lite.evaluation import build_evaluator, inference_on_dataset, print_csv_format
    from det2lite.modeling.mixed_precision import for_inference
    from det2lite.utils import comm

    results, model = {}, for_inference(cfg, model)
    for name in cfg.DATASETS.TEST:
        data_loader = build_detection_test_loader(cfg, name)
        evaluator = build_evaluator(cfg, name, os.path.join(cfg.OUTPUT_DIR, "inference", name))
        results[name] = inference_on_dataset(model, data_loader, evaluator)
        if comm.is_main_process():
            print_csv_format(results[name])
    return results


def train(cfg, model, resume=False):
    """Trains up to SOLVER.MAX_ITER, with checkpoints, logs and evaluations on the way. Returns the last results."""
    from det2lite.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
    from det2lite.data import build_detection_train_loader
    from det2lite.engine import LoopState, check_class_count, check_training_config, default_writers
    from det2lite.engine.checks import check_classes_of_data
    from det2lite.engine.run_state import keep_random_state
    from det2lite.solver import build_lr_scheduler, build_optimizer
    from det2lite.utils import comm
    from det2lite.utils.events import EventStorage

    check_training_config(cfg)
    max_iter, period = cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD
    data_loader = build_detection_train_loader(cfg)
    check_class_count(cfg, cfg.DATASETS.TRAIN)
    check_classes_of_data(cfg)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    loop_state = LoopState(data_loader)
    checkpointer = DetectionCheckpointer(
        model, cfg.OUTPUT_DIR, optimizer=optimizer, scheduler=scheduler, loop_state=loop_state
    )
    checkpointer.attach_config(cfg)
    resume = resume and checkpointer.has_checkpoint()
    loaded = load(cfg, checkpointer, resume)
    start_iter = loaded["iteration"] + 1 if resume else 0
    periodic_checkpointer = PeriodicCheckpointer(checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_iter=max_iter)
    writers = default_writers(cfg.OUTPUT_DIR, max_iter) if comm.is_main_process() else []

    logger.info("Starting training from iteration %d", start_iter)
    model.train()
    results = {}
    with EventStorage(start_iter) as storage:
        try:
            batches = loop_state.resume(start_iter)
            for iteration in range(start_iter, max_iter):
                storage.iter = iteration
                train_step(model, batches, optimizer, storage)
                scheduler.step()
                periodic_checkpointer.step(iteration)
                done = iteration + 1
                if done == max_iter or (period > 0 and done % period == 0):
                    with keep_random_state():  # so that an evaluation changes nothing in what comes after
                        results = evaluate(cfg, model)
                    comm.synchronize()
                if done % 20 == 0 and done < max_iter:
                    write(writers)
        finally:  # of a run that stops early, too, the numbers are kept
            write(writers, close=True)
    return results


def load(cfg, checkpointer, resume):
    """Loads the last checkpoint, of the same classes, or else MODEL.WEIGHTS. Returns what it holds beside the model."""
    from det2lite.engine.checks import check_classes_of_weights, warn_of_foreign_classes

    if resume:
        check_classes_of_weights(cfg, checkpointer.get_checkpoint_file(), cfg.DATASETS.TRAIN[:1], "resume")
    loaded = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    if not resume:
        warn_of_foreign_classes(cfg, loaded)
    return loaded


def write(writers, close=False):
    """Lets each writer put out what is new in the event storage."""
    for writer in writers:
        writer.write()
        if close:
            writer.close()


def train_step(model, batches, optimizer, storage):
    """One batch through model and optimizer, and its numbers into the storage."""
    import time

    from det2lite.engine.metrics import describe_batch, write_losses

    start = time.perf_counter()
    batch = next(batches)
    data_time = time.perf_counter() - start

    losses = model(batch)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    # stops here where a loss is NaN or infinite, before the weights are
    write_losses(losses, data_time, storage.iter, describe=lambda: describe_batch(batch, optimizer, model))
    optimizer.step()

    storage.put_scalar("lr", optimizer.param_groups[0]["lr"], smoothing_hint=False)
    storage.put_scalar("time", time.perf_counter() - start)


def main(args):
    from det2lite.engine import create_ddp_model, default_setup, load_weights
    from det2lite.modeling import build_model

    cfg = config_from_arguments(args)
    default_setup(cfg, args)
    if cfg.SOLVER.AMP.ENABLED and not args.eval_only:
        raise BadValue("this plain loop trains in float32: set SOLVER.AMP.ENABLED False, or use train_net.py")
    if cfg.SOLVER.ACCUMULATE != 1 and not args.eval_only:
        raise BadValue("this plain loop takes a step with each batch: set SOLVER.ACCUMULATE 1, or use train_net.py")
    if cfg.SOLVER.EMA.ENABLED and not args.eval_only:
        raise BadValue("this plain loop keeps no average of the weights: set SOLVER.EMA.ENABLED False")
    model = build_model(cfg)
    if args.eval_only:
        if not cfg.DATASETS.TEST:
            raise BadValue("nothing to evaluate on: DATASETS.TEST is empty; set it to a registered data set")
        load_weights(cfg, model, resume=args.resume)
        return evaluate(cfg, model)
    return train(cfg, create_ddp_model(model, broadcast_buffers=False), resume=args.resume)


@exit_on_user_error
def run():
    args = default_argument_parser().parse_args()
    check_arguments(args)
    launch_as_asked(main, args, args)


if __name__ == "__main__":
    run()
