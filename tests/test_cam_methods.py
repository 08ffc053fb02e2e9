"""Every method and layer against grad-cam called directly, smoothing, and the reasons for no map."""

import re

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from cam_models import META, SIDE, OneLogit, ask, build, classifier, images, models, place_of
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from torch import nn
from torchvision.ops import box_iou

from tinynet_mm.cam import METHODS, Candidate, Explainer, Question, Wanted
from tinynet_mm.cam.detectors import make_probe

# Methods ----------------------------------------------------------------------------------------------------------------------

FEW = 'backbone.layer1'  # 16 channels: methods that need a pass for each channel are fast with it
GRADCAM = {name: method.cls for name, method in METHODS.items()} | {'finercam': 'FinerCAM', 'refinecam': 'RefineCAM'}


@pytest.mark.parametrize('method', [m for m in METHODS if m != 'randomcam'])
def test_every_method_on_a_classifier_equals_gradcam_called_directly(method):
    plain, ours = classifier(), classifier()
    image = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    names = [FEW, 'backbone.layer2'] if method == 'refinecam' else [FEW]
    layers = [plain.get_submodule(name) for name in names]
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


def test_auto_is_a_local_method_where_the_decision_is_local():
    assert Explainer(models('fcos')).name == 'hirescam' and Explainer(classifier()).name == 'gradcam'


def test_random_cam_gives_a_map():
    answer = ask(Explainer(classifier(), 'randomcam'), torch.randn(1, 3, 128, 128), Wanted())[0][0]
    assert answer.reason or 0 <= answer.map.min() <= answer.map.max() <= 1.001


@pytest.mark.parametrize('smooth', ['aug_smooth', 'eigen_smooth'])
def test_smoothing_on_a_classifier_equals_gradcam(smooth):
    plain, ours = classifier(), classifier()
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    with pytorch_grad_cam.GradCAM(plain, [plain.backbone.layer4]) as cam:
        by_hand = cam(images, [ClassifierOutputTarget(2)] * 2, **{smooth: True})
    answers = ask(Explainer(ours, 'gradcam', **{smooth: True}), images, Wanted('class', 2))
    np.testing.assert_allclose([a[0].map for a in answers], by_hand, atol=2e-4)
    assert answers[0][0].layers == ('level0',)  # the backbone's last map, which is layer4's


@pytest.mark.parametrize('method', ['scorecam', 'ablationcam', 'hirescam', 'eigencam', 'finercam'])
@pytest.mark.parametrize('name', ['ssdlite', 'faster_rcnn'])
def test_methods_with_all_needs_run_on_detectors(name, method):
    layers = [] if method not in ('scorecam', 'ablationcam') else ['neck.extra_layers.0' if name == 'ssdlite' else 'level0']
    answers = ask(Explainer(models(name), method, layers), images[:1], Wanted(threshold=0.0))[0]
    assert answers[0].reason or answers[0].map.shape == (SIDE, SIDE)
    assert not answers[0].refused


@pytest.mark.parametrize('name', ['retinanet', 'faster_rcnn'])
def test_smoothing_explains_the_mirrored_box(name):
    probe = make_probe(models(name))
    with torch.no_grad():
        candidate = probe.read(images, [META] * 2).found(0)[0]
        reading = probe.read(images.flip(-1), [META] * 2)
        mirrored = reading.mirror(0, candidate, SIDE)
    x1, y1, x2, y2 = candidate.box
    expected = torch.tensor([[SIDE - x2, y1, SIDE - x1, y2]])
    np.testing.assert_allclose([mirrored.box], expected.numpy(), atol=1e-3)
    if candidate.roi is None:
        assert box_iou(reading.boxes(0, [mirrored.row]), expected) > 0.2
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
    assert 'level0 gives no map of the image; layers with a map: ' in refused.reason and name.rpartition('.')[0] in refused.reason


# Layers -----------------------------------------------------------------------------------------------------------------------


def test_in_place_activation_after_a_layer_does_not_overwrite_it():
    """grad-cam pairs the gradient before such a ReLU with the activation after it; autograd without in-place ReLUs is right."""
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


def test_shared_head_layer_is_explained_at_the_level_of_the_box():
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


def test_layer_without_gradient_is_refused_with_the_layers_that_have_one():
    for name in ('bbox_head.reg_convs.0', 'bbox_head.retina_reg'):
        answer = ask(Explainer(models('retinanet'), 'gradcam', layers=[name]), images, Wanted(threshold=0.0))[1][0]
        assert answer.map is None and answer.refused
        assert f'{name} has no gradient' in answer.reason and 'layers with a map: level' in answer.reason
        assert 'reg_convs' not in answer.reason.split('with a map')[1] and re.search(r'and \d+ more$', answer.reason)


def test_unknown_layers_and_methods():
    model = classifier()
    with pytest.raises(ValueError, match=r"no layer 'backbone.layer5'. Did you mean backbone.layer\d"):
        Explainer(model, 'gradcam', layers=['backbone.layer5'])
    with pytest.raises(ValueError, match="unknown method 'cam'; known: gradcam,"):
        Explainer(model, 'cam')
    with pytest.raises(ValueError, match='name two or more'):
        Explainer(model, 'refinecam')
    with pytest.raises(ValueError, match='a classifier has no boxes'):
        ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 64, 64), Wanted('box', 1))


def test_unsupported_models_are_refused():

    class Transformer(nn.Module):
        bbox_head = nn.Linear(1, 1)

    with pytest.raises(ValueError, match='no class activation maps for Transformer; supported are'):
        Explainer(Transformer())


def test_model_does_not_change():
    model = classifier()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    image = torch.randn(1, 3, 64, 64)
    ask(Explainer(model, 'ablationcam', [FEW]), image, Wanted())
    ask(Explainer(model, 'gradcam'), image, Wanted())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_fallbacks_do_not_depend_on_earlier_images():
    model = classifier()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.bias)  # so that no layer has a gradient for a black image
    explainer = Explainer(model, 'gradcam')
    ask(explainer, torch.zeros(1, 3, 32, 32), Wanted())
    answer = ask(explainer, torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(5)), Wanted())[0][0]
    assert answer.layers == ('backbone.layer2',) and answer.note == 'backbone.layer2 replaces level0, which is too coarse'


def test_ablation_layers_are_not_shared():
    """Explainers run in several threads, and grad-cam's ablation layer keeps the channels that it ablates."""
    one, other = (METHODS['ablationcam'].build(classifier()) for _ in range(2))
    assert one.ablation_layer is not other.ablation_layer


# No map -----------------------------------------------------------------------------------------------------------------------


def test_only_negative_evidence_is_reported():
    model = classifier()
    nn.init.constant_(model.head.fc.weight, -1.0)  # its input, after a ReLU, is never negative
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
    assert answer.map is None and answer.reason.startswith('the map of backbone.layer4 (1x1) has the same value everywhere')
    nn.init.zeros_(model.head.fc.weight)
    assert 'has no gradient' in ask(Explainer(model, 'gradcam'), torch.randn(1, 3, 128, 128), Wanted())[0][0].reason
    nn.init.zeros_(model.backbone.layer4[1].bn2.weight)
    nn.init.constant_(model.backbone.layer4[1].bn2.bias, -1e6)
    assert 'is empty' in ask(Explainer(model, 'eigencam'), torch.randn(1, 3, 128, 128), Wanted())[0][0].reason


def test_the_last_layer_with_enough_cells_replaces_a_coarse_level():
    model = classifier()
    for side, layer in ((128, 'level0'), (64, 'backbone.layer3'), (32, 'backbone.layer2'), (128, 'level0')):
        explainer = Explainer(model, 'gradcam')
        answer = ask(explainer, torch.randn(1, 3, side, side), Wanted())[0][0]
        assert answer.layers == (layer,) and answer.map is not None
        assert answer.note == ('' if layer == 'level0' else f'{layer} replaces level0, which is too coarse')
    detector = models('ssdlite')
    rows = []  # an anchor of each coarse level, with any score

    def coarse(reading, image):
        rows.extend(reading.level_of.index(level) for level in (2, 3))
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
