"""Maps against grad-cam called by hand, on plain networks, layers and targets that this code does not touch."""

import functools
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from torch import nn

import tinynet_mm
from tinynet_mm.cam import METHODS, Candidate, Explainer, Question, Wanted, choose, parse_target
from tinynet_mm.cam.detectors import make_probe, overlaps

SIDE = 128
META = dict(img_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0), ori_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE))
SMALL = dict(type='ResNet', depth=18, base_channels=16, num_stages=4, out_indices=(0, 1, 2, 3), norm_eval=True)
WIDTHS = [16, 32, 64, 128]


def build(cfg: dict, scope: str, seed: int = 0) -> nn.Module:
    """A model with weights large enough that scores differ from prior to prior."""
    init_default_scope(scope)
    torch.manual_seed(seed)
    return MODELS.build(ConfigDict(cfg)).eval()


def shrink(name: str, **head) -> dict:
    """A detector of mmdet's own configs with a small ResNet-18 and narrow heads."""
    cfg = get_config(f'mmdet::{name}').model
    cfg.backbone = dict(SMALL)
    cfg.neck.update(in_channels=WIDTHS, out_channels=24)
    cfg.get('bbox_head', {}).update(in_channels=24, feat_channels=24, num_classes=7, **head)
    return cfg


def retinanet() -> nn.Module:
    model = build(shrink('retinanet/retinanet_r50_fpn_1x_coco.py', stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.retina_cls)


def fcos() -> nn.Module:
    model = build(shrink('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', norm_cfg=None, stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.conv_cls)


def rtmdet() -> nn.Module:
    model = build(get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model | dict(backbone=rtmdet_backbone()), 'mmdet')
    return spread(model, *model.bbox_head.rtm_cls)


def rtmdet_backbone() -> dict:
    backbone = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model.backbone
    backbone.pop('init_cfg')
    return backbone


def ssdlite() -> nn.Module:
    neck = dict(
        type='SSDNeck', in_channels=(56, 1280), out_channels=(56, 1280, 64, 32), level_strides=(2, 2), level_paddings=(1, 1)
    )
    neck |= dict(l2_norm_scale=None, use_depthwise=True, norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
    head = dict(type='SSDLiteHead', num_classes=7, input_size=SIDE, in_channels=(56, 1280, 64, 32), strides=(16, 32, 64, 128))
    head |= dict(scales=(0.07, 0.15, 0.33, 0.51, 0.69), norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
    test = dict(nms_pre=100, nms=dict(type='nms', iou_threshold=0.45), min_bbox_size=0, score_thr=0.02, max_per_img=50)
    backbone = dict(type='TinyNet', arch='e', out_indices=(4, 7))
    model = dict(type='SingleStageDetector', backbone=backbone, neck=neck, bbox_head=head, test_cfg=test)
    model = build(model, 'mmdet')
    return spread(model, *[m for m in model.bbox_head.cls_convs.modules() if isinstance(m, nn.Conv2d) and m.out_channels == 48])


def faster_rcnn() -> nn.Module:
    cfg = shrink('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.rpn_head.update(in_channels=24, feat_channels=24)
    cfg.roi_head.bbox_roi_extractor.out_channels = 24
    cfg.roi_head.bbox_head.update(in_channels=24, fc_out_channels=32, num_classes=7)
    cfg.test_cfg.rpn.max_per_img = 60
    model = build(cfg, 'mmdet')
    return spread(model, model.roi_head.bbox_head.fc_cls)


def gfl() -> nn.Module:
    model = build(shrink('gfl/gfl_r50_fpn_1x_coco.py', norm_cfg=None, stacked_convs=1), 'mmdet')
    return spread(model, model.bbox_head.gfl_cls)


def yolox() -> nn.Module:
    return build(get_config('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py').model, 'mmdet')


def spread(model: nn.Module, *layers: nn.Module) -> nn.Module:
    """Make the last layers' scores differ, as training would: a fresh network says nearly the same everywhere."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.2)
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.1)
        nn.init.normal_(layer.bias, std=0.3)
    return model


def classifier(**backbone) -> nn.Module:
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, base_channels=16, stem_channels=16) | backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=128),
    )
    return spread(build(cfg, 'mmpretrain'))


# name -> (builder, layer whose output is the level, by the level's index)
DETECTORS = {
    'retinanet': (retinanet, lambda m, level: m.neck.fpn_convs[level]),
    'fcos': (fcos, lambda m, level: m.neck.fpn_convs[level]),
    'rtmdet': (rtmdet, lambda m, level: m.neck.out_convs[level]),
    'ssdlite': (ssdlite, lambda m, level: [m.backbone.level_modules(4)[-1], m.backbone.level_modules(7)[-1]][level]),
    'faster_rcnn': (faster_rcnn, lambda m, level: m.neck.fpn_convs[level]),
}
ONE_STAGE = [name for name in DETECTORS if name != 'faster_rcnn']


@pytest.fixture(scope='module')
def models():
    """Each model is built once, when a test asks for it."""
    return functools.cache(lambda name: DETECTORS[name][0]())


@pytest.fixture(scope='module')
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def ask(explainer, images, wanted, metas=META):
    return explainer(images, [metas] * len(images), partial(choose, wanted=wanted))


class OneLogit(nn.Module):
    """A detector whose only output is the logit of one class at one cell of one level: what a user would write by hand."""

    def __init__(self, model, level, channel, y, x):
        super().__init__()
        self.model, self.place = model, (level, channel, y, x)

    def forward(self, images):
        level, channel, y, x = self.place
        return self.model.bbox_head(self.model.extract_feat(images))[0][level][:, channel, y, x, None]


def place_of(model, images, row: int, label: int):
    """Level, channel, y and x of an anchor's class logit, counted through the maps one by one."""
    for level, scores in enumerate(model.bbox_head(model.extract_feat(images))[0]):
        height, width = scores.shape[-2:]
        classes = model.bbox_head.cls_out_channels
        anchors = scores.shape[1] // classes
        if row < height * width * anchors:
            cell, anchor = divmod(row, anchors)
            return level, anchor * classes + label, cell // width, cell % width
        row -= height * width * anchors
    raise AssertionError('no such anchor')


@pytest.mark.parametrize('name', ONE_STAGE)
def test_map_of_a_box_is_that_of_gradcam_by_hand(models, images, name):
    model, layer = models(name), DETECTORS[name][1]
    answers = ask(Explainer(model, 'gradcam'), images, Wanted('all', threshold=0.0, topk=20, per_box=True))[0]
    levels = set()
    for answer in answers:
        candidate = answer.question.candidates[0]
        if candidate.level in levels or answer.layers != (f'level{candidate.level}',) or answer.map is None:
            continue  # once for each level; stand-ins for coarse levels have a test of their own
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


def test_map_of_a_two_stage_box_is_that_of_gradcam_by_hand(models, images):
    model = models('faster_rcnn')
    answer = ask(Explainer(model, 'gradcam'), images, Wanted(threshold=0.0))[0][0]
    candidate = answer.question.candidates[0]
    with pytorch_grad_cam.GradCAM(OneProposal(model, candidate.roi), [model.neck.fpn_convs[candidate.level]]) as cam:
        by_hand = cam(images[:1], [ClassifierOutputTarget(candidate.label)])[0]
    np.testing.assert_allclose(answer.map, by_hand, atol=1e-4)


@pytest.mark.parametrize('name', [*DETECTORS, 'gfl', 'yolox'])
def test_candidates_are_the_boxes_that_the_model_itself_predicts(models, images, name):
    model = {'gfl': gfl, 'yolox': yolox}[name]() if name in ('gfl', 'yolox') else models(name)
    from mmdet.structures import DetDataSample

    samples = [DetDataSample(metainfo=META) for _ in images]
    with torch.no_grad():
        predicted = [s.pred_instances for s in model.predict(images, samples, rescale=False)]
    probe = make_probe(model)
    with torch.no_grad():
        probe.read(images, [META] * 2)
    for image, instances in enumerate(predicted):
        found = probe.found(image)
        assert [c.label for c in found] == instances.labels.tolist() and len(found) > 2
        np.testing.assert_allclose([c.box for c in found], instances.bboxes.numpy(), atol=1e-3)
        logits = probe.probabilities(probe.logits([(image, c) for c in found]))
        if name not in ('fcos', 'yolox'):  # their scores are multiplied by centreness or objectness
            np.testing.assert_allclose([p[c.label].item() for p, c in zip(logits, found)], instances.scores.numpy(), atol=1e-5)


@pytest.mark.parametrize('name', ['retinanet', 'fcos', 'rtmdet'])
def test_the_anchor_found_is_the_one_the_head_decodes_to_that_box(models, images, name):
    """Silence every logit but one: the head's own post-processing must give this box and no other."""
    model = models(name)
    probe = make_probe(model)
    with torch.no_grad():
        probe.read(images, [META] * 2)
        candidate = probe.found(0)[3]
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


def test_best_candidate_is_explained_and_said_where_nothing_is_detected(models, images):
    for name in ('retinanet', 'faster_rcnn'):
        explainer = Explainer(models(name), 'gradcam')
        answer = ask(explainer, images, Wanted(threshold=1.1))[0][0]
        assert 'no box reaches a score of 1.1; the best candidate' in answer.question.note and answer.map is not None
        best = max((c for c in [answer.question.candidates[0]]), key=lambda c: c.score)
        explainer.probe.read(images, [META] * 2)
        assert best.score == pytest.approx(explainer.probe.found(0)[0].score, abs=1e-5)
        other = ask(explainer, images, Wanted('class', 3, threshold=1.1))[0][0]
        assert other.question.candidates[0].label == 3
    missing = ask(explainer, images, Wanted('box', 2, threshold=1.1))[0][0]
    assert missing.map is None and missing.reason == 'box 2 was asked for, but no box reaches a score of 1.1'


@pytest.mark.parametrize('name', DETECTORS)
def test_the_best_candidate_is_the_best_final_box(models, images, name):
    """What `top1` relies on, to go without non-maximum suppression."""
    probe = make_probe(models(name))
    with torch.no_grad():
        probe.read(images, [META] * 2)
    for image in range(2):
        best, found = probe.best(image), probe.found(image)[0]
        assert best.score == pytest.approx(found.score, abs=1e-5)
        if found.score < 0.999:  # beyond, several are the best
            assert (best.row, best.label) == (found.row, found.label)
        raised = probe.found(image, threshold=found.score * 0.7)
        expected = [c for c in probe.found(image) if c.score >= found.score * 0.7]
        assert [c.score for c in raised] == pytest.approx([c.score for c in expected])
        assert [(c.row, c.label) for c in raised][:20] == [(c.row, c.label) for c in expected][:20]


def test_several_boxes_in_one_map_are_the_sum_of_their_logits(models, images):
    model = models('retinanet')
    explainer = Explainer(model, 'gradcam')
    answer = ask(explainer, images, Wanted('all', threshold=0.0, topk=4))[0]
    assert len(answer) == 1 and len(answer[0].question.candidates) == 4
    places = [place_of(model, images, c.row, c.label) for c in answer[0].question.candidates]
    levels = sorted({place[0] for place in places})

    class Sum(nn.Module):
        def forward(self, x):
            maps = model.bbox_head(model.extract_feat(x))[0]
            return sum(maps[level][:, c, y, x_, None] for level, c, y, x_ in places)

    with pytorch_grad_cam.GradCAM(wrap(Sum(), model), [model.neck.fpn_convs[level] for level in levels]) as cam:
        by_hand = cam(images[:1], [ClassifierOutputTarget(0)])[0]
    np.testing.assert_allclose(answer[0].map, by_hand, atol=1e-4)


def wrap(module: nn.Module, model: nn.Module) -> nn.Module:
    module.model = model  # grad-cam asks the wrapper for parameters
    return module


def test_one_image_gives_the_same_map_in_any_batch(models, images):
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


# Methods ----------------------------------------------------------------------------------------------------------------------

FEW = 'backbone.layer1'  # 16 channels: methods that need a pass for each are quick there
GRADCAM = {name: method.cls for name, method in METHODS.items()} | {'finercam': 'FinerCAM', 'refinecam': 'RefineCAM'}


@pytest.mark.parametrize('method', [m for m in METHODS if m != 'randomcam'])
def test_every_method_on_a_classifier_is_that_of_gradcam_by_hand(method):
    plain, ours = classifier(), classifier()
    image = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    names = [FEW, 'backbone.layer2'] if method == 'refinecam' else [FEW]
    layers = [] if method == 'fullgrad' else [plain.get_submodule(name) for name in names]
    cam = getattr(pytorch_grad_cam, GRADCAM[method])(plain, layers)

    def by_hand(label: int) -> np.ndarray:
        if method == 'finercam':
            return cam(image, target_idx=label)[0]
        target = ClassifierOutputSoftmaxTarget(label) if method == 'ablationcam' else ClassifierOutputTarget(label)
        return cam(image.clone(), [target])[0]

    label = next(label for label in range(5) if by_hand(label).any())  # not all classes have positive evidence
    answer = ask(Explainer(ours, method, names), image, Wanted('class', label))[0][0]
    assert answer.question.candidates[0].label == label and not answer.reason
    np.testing.assert_allclose(answer.map, by_hand(label), atol=2e-4)


def test_auto_is_a_local_method_where_the_decision_is_local(models):
    assert Explainer(models('fcos')).name == 'hirescam' and Explainer(classifier()).name == 'gradcam'


def test_random_cam_is_a_map_too():
    answer = ask(Explainer(classifier(), 'randomcam'), torch.randn(1, 3, 128, 128), Wanted())[0][0]
    assert answer.reason or 0 <= answer.map.min() <= answer.map.max() <= 1.001


@pytest.mark.parametrize('smooth', ['aug_smooth', 'eigen_smooth'])
def test_smoothing_on_a_classifier_is_that_of_gradcam(smooth):
    plain, ours = classifier(), classifier()
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    with pytorch_grad_cam.GradCAM(plain, [plain.backbone.layer4]) as cam:
        by_hand = cam(images, [ClassifierOutputTarget(2)] * 2, **{smooth: True})
    answers = ask(Explainer(ours, 'gradcam', **{smooth: True}), images, Wanted('class', 2))
    np.testing.assert_allclose([a[0].map for a in answers], by_hand, atol=2e-4)
    assert answers[0][0].layers == ('level0',)  # the backbone's last map, which is layer4's


@pytest.mark.parametrize('method', ['scorecam', 'ablationcam', 'hirescam', 'shapleycam', 'eigencam', 'finercam'])
@pytest.mark.parametrize('name', ['ssdlite', 'faster_rcnn'])
def test_methods_of_every_kind_run_on_detectors(models, images, name, method):
    layers = [] if method not in ('scorecam', 'ablationcam') else ['neck.extra_layers.0' if name == 'ssdlite' else 'level0']
    answers = ask(Explainer(models(name), method, layers), images[:1], Wanted(threshold=0.0))[0]
    assert answers[0].reason or answers[0].map.shape == (SIDE, SIDE)
    assert not answers[0].refused


@pytest.mark.parametrize('name', ['retinanet', 'faster_rcnn'])
def test_mirrored_box_is_asked_about_when_smoothing(models, images, name):
    probe = make_probe(models(name))
    with torch.no_grad():
        probe.read(images, [META] * 2)
        candidate = probe.found(0)[0]
        probe.read(images.flip(-1), [META] * 2)
        mirrored = probe.mirror(0, candidate, SIDE)
    x1, y1, x2, y2 = candidate.box
    expected = torch.tensor([[SIDE - x2, y1, SIDE - x1, y2]])
    np.testing.assert_allclose([mirrored.box], expected.numpy(), atol=1e-3)
    if candidate.roi is None:
        assert overlaps(probe.boxes(0, [mirrored.row]), expected) > 0.2
    answer = ask(Explainer(models(name), 'gradcam', aug_smooth=True), images, Wanted(threshold=0.0))[1][0]
    assert answer.map is not None and answer.map.shape == (SIDE, SIDE)


def test_tokens_of_a_transformer_are_a_grid():
    arch = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=32)
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='VisionTransformer', arch=arch, img_size=64, patch_size=16),
        head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=32),
    )
    model = build(cfg, 'mmpretrain')
    nn.init.normal_(model.head.layers.head.weight)
    image = torch.randn(1, 3, 64, 64)
    name = 'backbone.layers.1.ln1'

    def grid(tokens):
        return tokens[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)

    with pytorch_grad_cam.GradCAM(model, [model.get_submodule(name)], reshape_transform=grid) as cam:
        by_hand = cam(image, [ClassifierOutputTarget(1)])[0]
    answer = ask(Explainer(model, 'gradcam', [name]), image, Wanted('class', 1))[0][0]
    np.testing.assert_allclose(answer.map, by_hand, atol=2e-4)
    refused = ask(Explainer(model, 'gradcam'), image, Wanted())[0][0]
    assert 'level0 gives no map of the image; layers that serve: ' in refused.reason and name.rpartition('.')[0] in refused.reason


# Layers -----------------------------------------------------------------------------------------------------------------------


def test_activation_in_place_behind_a_layer_does_not_overwrite_it():
    """grad-cam by hand pairs the gradient before such a ReLU with the activation after it; autograd without one knows."""
    model = classifier()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    name = 'backbone.layer4.1.bn1'
    answer = ask(Explainer(model, 'hirescam', [name]), image, Wanted('class', 0))[0][0]
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    kept = []
    model.get_submodule(name).register_forward_hook(lambda module, inputs, output: kept.append(output))
    logit = model(image)[0, 0]
    gradient = torch.autograd.grad(logit, kept[0])[0]
    raw = (gradient * kept[0]).sum(1)[0]
    assert answer.high == pytest.approx(float(raw.max()), rel=1e-3)
    assert answer.low == pytest.approx(float(raw.min()), rel=1e-3)


def test_shared_head_layer_is_explained_at_the_level_of_the_box(models, images):
    model = models('retinanet')
    name = 'bbox_head.cls_convs.0'
    answer = ask(Explainer(model, 'gradcam', layers=[name]), images, Wanted(threshold=0.0))[0][0]
    candidate = answer.question.candidates[0]
    level, channel, y, x = place_of(model, images, candidate.row, candidate.label)
    calls = []
    handle = model.get_submodule(name).register_forward_hook(lambda module, inputs, output: calls.append(output))
    logit = model.bbox_head(model.extract_feat(images))[0][level][0, channel, y, x]
    handle.remove()
    weights = torch.autograd.grad(logit, calls[level])[0][0].mean((1, 2))
    raw = (weights[:, None, None] * calls[level][0]).sum(0)
    assert (answer.low, answer.high) == pytest.approx((float(raw.min()), float(raw.max())), rel=1e-3)


def test_layer_without_gradient_is_refused_with_those_that_serve(models, images):
    for name in ('bbox_head.reg_convs.0', 'bbox_head.retina_reg'):
        answer = ask(Explainer(models('retinanet'), 'gradcam', layers=[name]), images, Wanted(threshold=0.0))[1][0]
        assert answer.map is None and answer.refused
        assert f'{name} has no gradient' in answer.reason and 'layers that serve: level' in answer.reason
        assert 'reg_convs' not in answer.reason.split('serve')[1] and re.search(r'and \d+ more$', answer.reason)


def test_layers_and_methods_that_are_none():
    model = classifier()
    with pytest.raises(ValueError, match=r"no layer 'backbone.layer5'.*nearest: backbone.layer\d"):
        Explainer(model, 'gradcam', layers=['backbone.layer5'])
    with pytest.raises(ValueError, match="unknown method 'cam'; known: gradcam,"):
        Explainer(model, 'cam')
    with pytest.raises(ValueError, match='name two or more'):
        Explainer(model, 'refinecam')
    with pytest.raises(ValueError, match='classifiers only'):
        Explainer(model, 'fullgrad', aug_smooth=True)
    with pytest.raises(ValueError, match='a classifier has no boxes'):
        ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 64, 64), Wanted('box', 1))


def test_models_that_have_no_such_logits_are_refused(models):
    with pytest.raises(ValueError, match='loop of its own: it serves classifiers'):
        Explainer(models('ssdlite'), 'sess')

    class Transformer(nn.Module):
        bbox_head = nn.Linear(1, 1)

    with pytest.raises(ValueError, match='no class activation maps for Transformer; supported are'):
        Explainer(Transformer())


def test_model_is_left_as_it_was(models, images):
    model = classifier()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    image = torch.randn(1, 3, 64, 64)
    ask(Explainer(model, 'ablationcam', [FEW]), image, Wanted())
    ask(Explainer(model, 'gradcam'), image, Wanted())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


# Maps that are none -----------------------------------------------------------------------------------------------------------


def test_only_negative_evidence_is_reported():
    model = classifier()
    nn.init.constant_(model.head.fc.weight, -1.0)  # its input, behind a ReLU, is never negative
    answer = ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 128, 128), Wanted())[0][0]
    assert answer.map is None and answer.low < 0 and 'level0 holds only negative evidence' in answer.reason


def test_values_that_are_not_finite_are_reported():
    model = classifier()
    nn.init.constant_(model.head.fc.weight, torch.inf)
    answer = ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 128, 128), Wanted('class', 1))[0][0]
    assert answer.map is None and 'is not finite' in answer.reason


def test_empty_and_flat_maps_are_reported():
    model = classifier()
    answer = ask(Explainer(model, 'gradcam', layers=['backbone.layer4']), torch.randn(1, 3, 32, 32), Wanted())[0][0]
    assert answer.map is None and answer.reason.startswith('the map of backbone.layer4 (1x1) is the same everywhere')
    nn.init.zeros_(model.head.fc.weight)
    assert 'has no gradient' in ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 128, 128), Wanted())[0][0].reason
    nn.init.zeros_(model.backbone.layer4[1].bn2.weight)
    nn.init.constant_(model.backbone.layer4[1].bn2.bias, -1e6)
    assert 'is empty' in ask(Explainer(model, 'eigencam'), torch.randn(1, 3, 128, 128), Wanted())[0][0].reason


def test_a_coarse_level_is_stood_in_for_by_the_last_layer_with_cells(models, images):
    model = classifier()
    for side, layer in ((128, 'level0'), (64, 'backbone.layer3'), (32, 'backbone.layer2'), (128, 'level0')):
        explainer = Explainer(model, 'gradcam')
        answer = ask(explainer, torch.randn(1, 3, side, side), Wanted())[0][0]
        assert answer.layers == (layer,) and answer.map is not None
        assert answer.note == ('' if layer == 'level0' else f'{layer} stands in for level0, which is too coarse')
    detector = models('ssdlite')
    rows = []  # an anchor of each coarse level, whatever its score

    def coarse(probe, image):
        rows.extend(probe.level_of.index(level) for level in (2, 3))
        return [Question((Candidate(1, 0.5, level, row, (0, 0, 9, 9)),)) for level, row in zip((2, 3), rows)]

    for row, answer in zip(rows, Explainer(detector, 'gradcam')(images[:1], [META], coarse)[0], strict=True):
        layer, sizes = detector.get_submodule(answer.layers[0]), []
        handle = layer.register_forward_hook(lambda module, inputs, output, sizes=sizes: sizes.append(output.shape[-2:]))
        assert answer.map is not None
        with pytorch_grad_cam.GradCAM(OneLogit(detector, *place_of(detector, images, row, 1)), [layer]) as cam:
            by_hand = cam(images[:1], [ClassifierOutputTarget(0)])[0]
        handle.remove()
        assert set(sizes) == {(4, 4)}
        np.testing.assert_allclose(answer.map, by_hand, atol=1e-4)


# Targets and imports ----------------------------------------------------------------------------------------------------------


def test_targets_in_a_users_words():
    classes = ['Red blood cell', 'platelet']
    assert parse_target('class=red BLOOD cell', classes, topk=3) == Wanted('class', 0, topk=3)
    assert parse_target('box=2', classes) == Wanted('box', 2)
    with pytest.raises(ValueError, match="no class 'platlet' among the 2 of this model; the nearest: platelet"):
        parse_target('class=platlet', classes)
    with pytest.raises(ValueError, match='does not tell the names of its classes'):
        parse_target('class=cat', [])
    for text in ('best', 'box=0', 'box=x', 'class='):
        with pytest.raises(ValueError, match='give one of top1, class=NAME, box=K, all'):
            parse_target(text, classes)


def test_only_the_cam_package_imports_gradcam():
    root = Path(tinynet_mm.__file__).parent
    pattern = re.compile(r'^\s*(import|from) pytorch_grad_cam', re.MULTILINE)
    importing = {p.relative_to(root).parts[0] for p in root.rglob('*.py') if pattern.search(p.read_text())}
    assert importing == {'cam'}
