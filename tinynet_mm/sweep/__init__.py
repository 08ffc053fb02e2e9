"""The search of the paper (sections 3.1, 3.2 and 4.2): sample networks, train each, take the front, fit the formula, show it.

Stages meet in the files of one directory, so each can be run again, read, and killed:

    recipe.py, samples.csv      plan.py      the training recipe with its base network, and the networks to train
    trials/NAME/                trial.py     one training: config.py, its checkpoints while it runs, weights.pth, result.json
    rows.csv                    results.py   what is done so far
    front.csv, formula.json     results.py   the best networks, and the tiny formula fitted to them
    report/                     report.py    figures and one page

``engines.py`` runs trials side by side, in processes of this machine or on Ray. ``tools/sweep.py`` is the command.
"""
