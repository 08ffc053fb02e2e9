"""The files around the package agree with it: citation, changelog, issue forms, workflows, Docker files."""

import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from test_language import FORBIDDEN

from tinynet_mm import __version__

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / '.github'
WORKFLOWS = sorted((GITHUB / 'workflows').glob('*.yml'))
DOCKERFILES = sorted((ROOT / 'docker').glob('Dockerfile.*'))
TEXTS = [*(ROOT / name for name in ('CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md')), *GITHUB.glob('**/*.md'), *DOCKERFILES]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def strings(content: object) -> list[str]:
    """All texts of a parsed YAML file."""
    if isinstance(content, dict):
        return [text for value in content.values() for text in strings(value)]
    if isinstance(content, list):
        return [text for value in content for text in strings(value)]
    return [content] if isinstance(content, str) else []


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert (citation['cff-version'], citation['type'], citation['version']) == ('1.2.0', 'software', __version__)
    paper = citation['preferred-citation']
    assert paper['title'].startswith("Model Rubik's Cube") and paper['year'] == 2020 and len(paper['authors']) == 6


def test_the_changelog_has_an_entry_for_this_version():
    headings = re.findall(r'^## \[(.+)\] - (.+)$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    dates = dict(headings)
    assert len(dates) == len(headings) and __version__ in dates
    assert all(re.fullmatch(r'Unreleased|\d{4}-\d\d-\d\d', date) for date in dates.values())


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_texts_have_standard_words_and_links_to_files(path):
    text = path.read_text()
    assert [match[0] for match in FORBIDDEN.finditer(text)] == []
    for target in re.findall(r'\]\((?!https?:|#)([^)#]+)', text):
        assert (path.parent / target).exists(), target


def test_paths_in_the_guide_exist():
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    named = {path for path in re.findall(r'`(?:python )?([\w./*-]+)`', text) if '/' in path and not path.startswith('.')}
    assert len(named) > 20
    assert [path for path in sorted(named) if not list(ROOT.glob(path)) and '.mim' not in path and 'NAME' not in path] == []


def test_the_guide_names_the_tools_that_write_files():
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    for path in (ROOT / 'configs').rglob('metafile.yml'):
        assert f'`{name_of(path)}`' in text


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))


@pytest.mark.parametrize('path', [*WORKFLOWS, *[ROOT / name for name in ('CONTRIBUTING.md', '.ci/run')]], ids=name_of)
def test_called_make_targets_exist(path):
    called = set(re.findall(r'\bmake ([a-z]+)\b', re.sub(r'#.*', '', path.read_text())))
    assert called <= targets()
    assert called or path.name == 'release.yml'


@pytest.mark.parametrize('path', WORKFLOWS, ids=name_of)
def test_workflows_are_complete(path):
    content = yaml.safe_load(path.read_text())
    assert content['permissions'] == {'contents': 'read'}  # more is asked for in the job that needs it
    for job in content['jobs'].values():
        assert set(job.get('needs', '').split()) <= set(content['jobs']) and job['timeout-minutes'] <= 60
        for step in job['steps']:
            assert ('uses' in step) != ('run' in step)
            assert '@' in step.get('uses', '@')
    for name in re.findall(r'(?<![\w/])tools/[\w.]+', ' '.join(strings(content))):
        assert (ROOT / name).exists(), name


def test_the_release_publishes_what_was_tried():
    jobs = yaml.safe_load((GITHUB / 'workflows' / 'release.yml').read_text())['jobs']
    assert jobs['pypi']['needs'] == 'smoke' and jobs['smoke']['needs'] == 'build'
    assert jobs['pypi']['permissions'] == {'id-token': 'write'}
    assert not any('checkout' in step.get('uses', '') for name in ('smoke', 'pypi') for step in jobs[name]['steps'])


def run_step(folder: Path, tag: str) -> subprocess.CompletedProcess:
    """The release's check of the tag, run in a folder."""
    steps = yaml.safe_load((GITHUB / 'workflows' / 'release.yml').read_text())['jobs']['build']['steps']
    (script,) = [step['run'] for step in steps if 'changelog' in step.get('name', '')]
    env = {'GITHUB_REF_NAME': tag, 'PATH': '/usr/bin:/bin'}
    return subprocess.run(['bash', '-e', '-c', script], cwd=folder, env=env, capture_output=True, text=True)


def test_a_release_needs_the_tag_of_its_version_and_a_dated_entry(tmp_path):
    (tmp_path / 'tinynet_mm').mkdir()
    (tmp_path / 'tinynet_mm' / '__init__.py').write_text((ROOT / 'tinynet_mm' / '__init__.py').read_text())
    changelog = tmp_path / 'CHANGELOG.md'
    changelog.write_text(f'# Changelog\n\n## [{__version__}] - Unreleased\n\n- this\n')
    assert 'no dated entry' in run_step(tmp_path, f'v{__version__}').stdout
    changelog.write_text(
        f'# Changelog\n\n## [{__version__}] - 2026-12-01\n\n### Added\n- this\n\n## [0.0.1] - 2026-01-01\n\n- that\n'
    )
    wrong = run_step(tmp_path, 'v9.9.9')
    assert wrong.returncode == 1 and f'the package has version {__version__}' in wrong.stdout
    done = run_step(tmp_path, f'v{__version__}')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'helpers' / 'notes.md').read_text() == '\n### Added\n- this\n\n'


@pytest.mark.parametrize('path', sorted((GITHUB / 'ISSUE_TEMPLATE').glob('*.yml')), ids=name_of)
def test_issue_forms_have_labels_and_unique_names(path):
    form = yaml.safe_load(path.read_text())
    fields = [field for field in form.get('body', []) if field['type'] != 'markdown']
    assert len({field['id'] for field in fields}) == len(fields)
    assert all(field['attributes']['label'] for field in fields)
    assert path.stem != 'bug_report' or 'tinynet doctor' in json.dumps(form)
    assert path.stem == 'config' or (form['name'] and form['description'] and fields)


def test_docker_files_copy_files_that_exist():
    ignored = (ROOT / '.dockerignore').read_text().splitlines()
    wanted = {line[1:] for line in ignored if line.startswith('!')}
    assert '*' in ignored and len(DOCKERFILES) == 2
    for path in DOCKERFILES:
        lines = re.findall(r'^(COPY|RUN|FROM) (.+)$', path.read_text().replace('\\\n', ' '), re.MULTILINE)
        copied = {name for kind, line in lines if kind == 'COPY' and '--from' not in line for name in line.split()[:-1]}
        assert copied == wanted and all((ROOT / name).exists() for name in copied)
        for kind, line in lines:
            if kind == 'RUN':
                assert all((ROOT / name).exists() for name in re.findall(r'\b(?:tools|requirements)/[\w.]+', line))
            assert kind != 'FROM' or not fnmatch.fnmatch(line.split()[0], '*latest') and ':' in line
        assert 'USER 1001' in path.read_text()
