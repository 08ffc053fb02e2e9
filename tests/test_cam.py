"""Maps of detectors against grad-cam called directly, on networks, layers and targets that do not use this package."""

import copy

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from cam_models import DETECTORS, META, ONE_STAGE, OTHERS, OneLogit, ask, classifier, images, models, place_of
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from tinynet_mm.cam import Explainer, Wanted, parse_target
from tinynet_mm.cam.detectors import make_probe


@pytest.mark.parametrize('name', ONE_STAGE)
def test_map_of_a_box_equals_gradcam_called_directly(name):
    model, layer = models(name), DETECTORS[name][1]
    answers = ask(Explainer(model, 'gradcam'), images, Wanted('all', threshold=0.0, topk=20, per_box=True))[0]
    levels = set()
    for answer in answers:
        candidate = answer.question.candidates[0]
        if candidate.level in levels or answer.layers != (f'level{candidate.level}',) or answer.map is None:
            continue  # once for each level; fallbacks of coarse levels have another test
        levels.add(candidate.level)
        place = place_of(model, images, candidate.row, candidate.label)
        assert place[0] == candidate.level
        with pytorch_grad_cam.GradCAM(OneLogit(model, *place), [layer(model, candidate.level)]) as cam:
            by_hand = cam(images[:1], [ClassifierOutputTarget(0)])[0]
        np.testing.assert_allclose(answer.map, by_hand, atol=1e-4)
        assert answer.map.max() == pytest.approx(1, abs=1e-3)
    assert levels


class OneProposal(nn.Module):
    def __init__(self, model, roi):
        super().__init__()
        self.model, self.roi = model, roi

    def forward(self, images):
        rois = torch.cat([torch.zeros(1), self.roi])[None]
        return self.model.roi_head._bbox_forward(self.model.extract_feat(images), rois)['cls_score']


def test_map_of_a_two_stage_box_equals_gradcam_called_directly():
    model = models('faster_rcnn')
    answer = ask(Explainer(model, 'gradcam'), images, Wanted(threshold=0.0))[0][0]
    candidate = answer.question.candidates[0]
    with pytorch_grad_cam.GradCAM(OneProposal(model, candidate.roi), [model.neck.fpn_convs[candidate.level]]) as cam:
        by_hand = cam(images[:1], [ClassifierOutputTarget(candidate.label)])[0]
    np.testing.assert_allclose(answer.map, by_hand, atol=1e-4)


@pytest.mark.parametrize('name', [*DETECTORS, *OTHERS])
def test_candidates_are_the_boxes_that_the_model_itself_predicts(name):
    model = models(name)
    from mmdet.structures import DetDataSample

    samples = [DetDataSample(metainfo=META) for _ in images]
    with torch.no_grad():
        predicted = [s.pred_instances for s in model.predict(images, samples, rescale=False)]
    probe = make_probe(model)
    with torch.no_grad():
        reading = probe.read(images, [META] * 2)
    for image, instances in enumerate(predicted):
        found = reading.found(image)
        assert [c.label for c in found] == instances.labels.tolist() and len(found) > 2
        np.testing.assert_allclose([c.box for c in found], instances.bboxes.numpy(), atol=1e-3)
        logits = probe.probabilities(reading.logits([(image, c) for c in found]))
        if name not in ('fcos', 'atss', 'yolox'):  # their scores are multiplied by centreness or objectness
            np.testing.assert_allclose([p[c.label].item() for p, c in zip(logits, found)], instances.scores.numpy(), atol=1e-5)


@pytest.mark.parametrize('name', ['retinanet', 'fcos', 'rtmdet'])
def test_the_anchor_found_is_the_one_the_head_decodes_to_that_box(name):
    """With all logits but one set low, the head's post-processing returns this box and no other."""
    model = models(name)
    probe = make_probe(model)
    with torch.no_grad():
        candidate = probe.read(images, [META] * 2).found(0)[3]
        level, channel, y, x = place_of(model, images, candidate.row, candidate.label)
        outs = [[m[:1].clone() for m in maps] for maps in model.bbox_head(model.extract_feat(images))]
        kept = outs[0][level][0, channel, y, x].item()
        for scores in outs[0]:
            scores.fill_(-100)
        outs[0][level][0, channel, y, x] = kept
        alone = model.bbox_head.predict_by_feat(*outs, batch_img_metas=[META])[0]
    alone = alone[alone.scores > 1e-3]
    assert alone.labels.tolist() == [candidate.label]
    np.testing.assert_allclose(alone.bboxes[0].numpy(), candidate.box, atol=1e-3)


def test_the_best_candidate_is_explained_with_a_note_if_nothing_is_detected():
    for name in ('retinanet', 'faster_rcnn'):
        explainer = Explainer(models(name), 'gradcam')
        answer = ask(explainer, images, Wanted(threshold=1.1))[0][0]
        assert 'no box reaches a score of 1.1; the best candidate' in answer.question.note and answer.map is not None
        best = max((c for c in [answer.question.candidates[0]]), key=lambda c: c.score)
        reading = explainer.probe.read(images, [META] * 2)
        assert best.score == pytest.approx(reading.found(0)[0].score, abs=1e-5)
        other = ask(explainer, images, Wanted('class', 3, threshold=1.1))[0][0]
        assert other.question.candidates[0].label == 3
    missing = ask(explainer, images, Wanted('box', 2, threshold=1.1))[0][0]
    assert missing.map is None and missing.reason == 'box 2 was asked for, but no box reaches a score of 1.1'


@pytest.mark.parametrize('name', DETECTORS)
def test_the_best_candidate_is_the_best_final_box(name):
    """`top1` depends on this: it needs no non-maximum suppression."""
    probe = make_probe(models(name))
    with torch.no_grad():
        reading = probe.read(images, [META] * 2)
    for image in range(2):
        best, found = reading.best(image), reading.found(image)[0]
        assert best.score == pytest.approx(found.score, abs=1e-5)
        if found.score < 0.999:  # above, several have the same score
            assert (best.row, best.label) == (found.row, found.label)
        raised = reading.found(image, threshold=found.score * 0.7)
        expected = [c for c in reading.found(image) if c.score >= found.score * 0.7]
        assert [c.score for c in raised] == pytest.approx([c.score for c in expected])
        assert [(c.row, c.label) for c in raised][:20] == [(c.row, c.label) for c in expected][:20]


def test_a_note_says_that_boxes_are_left_out():
    explainer = Explainer(models('retinanet'), 'gradcam')
    reading = explainer.probe.read(images, [META] * 2)
    threshold = sum(c.score for c in reading.found(0)[3:5]) / 2  # four boxes reach it
    for topk, note in ((3, 'only the best 3 of its boxes; more with --topk'), (4, '')):
        for per_box in (False, True):
            several = ask(explainer, images, Wanted('all', threshold=threshold, topk=topk, per_box=per_box))[0]
            assert {answer.question.note for answer in several} == {note}
            assert sum(len(answer.question.candidates) for answer in several) == topk


def test_the_map_of_several_boxes_is_the_maximum_of_their_own_maps():
    """Each box is as visible as the others: every map is scaled by itself before pooling; raw extremes are not scaled."""
    model = models('retinanet')
    explainer = Explainer(model, 'gradcam')
    answer = ask(explainer, images, Wanted('all', threshold=0.0, topk=4))[0]
    assert len(answer) == 1 and len(answer[0].question.candidates) == 4
    own = ask(explainer, images, Wanted('all', threshold=0.0, topk=4, per_box=True))[0]
    seen = [e.map for e in own if e.map is not None]
    np.testing.assert_allclose(answer[0].map, np.max(seen, axis=0))
    assert all(one.max() > 0.99 for one in seen)
    assert answer[0].low == min(e.low for e in own) and answer[0].high == max(e.high for e in own)


def test_one_image_gives_the_same_map_in_any_batch():
    wanted = Wanted('all', threshold=0.0, topk=3, per_box=True)
    for name in ('ssdlite', 'faster_rcnn'):
        explainer = Explainer(models(name), 'gradcam')
        together = ask(explainer, images, wanted)
        for image in range(2):
            for alone, shared in zip(ask(explainer, images[image : image + 1], wanted)[0], together[image]):
                assert alone.layers == shared.layers and alone.reason == shared.reason
                if shared.map is None:
                    continue
                assert alone.high == pytest.approx(shared.high, rel=1e-3)
                np.testing.assert_allclose(alone.map, shared.map, atol=1e-3)


@pytest.mark.parametrize('name', [*DETECTORS, 'classifier'])
def test_a_reading_does_not_depend_on_later_ones(name):
    probe = make_probe(classifier() if name == 'classifier' else models(name))
    with torch.no_grad():
        first, _, again = (probe.read(batch, [META]) for batch in (images[:1], images[1:], images[:1]))
        one, other = first.found(0, most=3), again.found(0, most=3)
        assert [(c.label, c.row, c.score) for c in one] == [(c.label, c.row, c.score) for c in other]
        torch.testing.assert_close(first.logits([(0, c) for c in one]), again.logits([(0, c) for c in one]))


def test_an_image_without_proposals_has_a_reason():
    model = copy.deepcopy(models('faster_rcnn'))
    model.rpn_head.test_cfg.min_bbox_size = 1e6
    for wanted in (Wanted(), Wanted('all')):
        answers = ask(Explainer(model), images, wanted)
        assert [a[0].reason for a in answers] == ['the detector proposes no region on this image'] * 2
    with torch.no_grad():
        assert make_probe(model).read(images, [META] * 2).found(0) == []


# Targets ----------------------------------------------------------------------------------------------------------------------


def test_targets_in_words():
    classes = ['Red blood cell', 'platelet']
    assert parse_target('class=red BLOOD cell', classes, topk=3) == Wanted('class', 0, topk=3)
    assert parse_target('box=2', classes) == Wanted('box', 2)
    with pytest.raises(ValueError, match="none of the 2 classes of this model is 'platlet'. Did you mean platelet"):
        parse_target('class=platlet', classes)
    with pytest.raises(ValueError, match='the class names of this model are unknown; give its data set with --data-root'):
        parse_target('class=cat', [])
    with pytest.raises(ValueError, match='--topk 0: at least one box or class'):
        parse_target('all', classes, topk=0)
    for text in ('best', 'box=0', 'box=x', 'class='):
        with pytest.raises(ValueError, match='give one of top1, class=NAME, box=K, all'):
            parse_target(text, classes)
