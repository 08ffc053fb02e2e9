"""The search of the paper (sections 3.1, 3.2 and 4.2): sample networks, train each, take the front, fit the formula, report.

The stages exchange files in one directory, so each stage can be killed and run again:

    recipe.py, samples.csv      plan.py      the training recipe with its base network, and the networks to train
    trials/NAME/                trial.py     one training: config.py, checkpoints during the training, weights.pth, result.json
    rows.csv                    results.py   the accuracies of the trials that are done
    front.csv, formula.json     results.py   the best networks, and the tiny formula fitted to them
    report/                     report.py    figures and one page

``engines.py`` runs trials in parallel, in processes of this machine or on Ray. ``tools/sweep.py`` is the command.
"""
