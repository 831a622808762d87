def test_the_familiar_path():
    from det2lite.evaluation.coco_evaluation import COCOeval_opt
    from det2lite.evaluation.fast_eval_api import COCOeval_opt as by_its_path

    assert by_its_path is COCOeval_opt
