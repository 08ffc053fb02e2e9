from setuptools import setup
setup(name='tinynet_mm', version='0.1.0', packages=['tinynet_mm'])
