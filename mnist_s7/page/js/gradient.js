// The gradient of one unit of a layer with respect to the image: backpropagation through the steps of network.js.
//
// A gradient is a Float64Array, laid out as the values that it belongs to. Each step adds to its inputs' gradients, so that a
// value which several steps take gets the sum. Most of a unit's gradients are 0, outside of its receptive field and
// behind a ReLU: the steps pass over those.

// The gradient of the unit (row, column) of step `index`, summed over its channels, with respect to each pixel of the
// normalised image. `layers` is what `run` gives of that image.
export function unitGradient(network, layers, index, [row, column]) {
  const [channels, height = 1, width = 1] = layers[index].shape;
  const gradients = [];
  gradients[index] = new Float64Array(channels * height * width);
  for (let channel = 0; channel < channels; channel++) {
    gradients[index][(channel * height + row) * width + column] = 1;
  }
  for (let at = index; at > 0; at--) {
    if (!gradients[at]) continue; // the unit does not see this step
    const step = network.steps[at];
    const inputs = step.inputs.map((from) => {
      const { shape, values } = layers[from];
      gradients[from] ??= new Float64Array(values.length);
      return { shape, values, gradient: gradients[from] };
    });
    KINDS[step.kind](step, gradients[at], layers[at].values, inputs);
  }
  return gradients[0];
}

// Of each kind: adds to the gradients of the `inputs`, given the gradient and the values of what the step gave.
const KINDS = { conv2d, linear, batchnorm, relu, maxpool2d, average, add, flatten, log_softmax: logSoftmax };

// The inner loop runs over the channels of the input, of which there are more than rows and columns in a kernel.
function conv2d(step, gradient, output, [input]) {
  const [channelsIn, heightIn, widthIn] = input.shape;
  const [channels, height, width] = step.shape;
  const [kernelHeight, kernelWidth] = step.kernel;
  const { weight } = step;
  const into = input.gradient;
  const mapSize = heightIn * widthIn;
  const kernelSize = kernelHeight * kernelWidth;
  const perGroup = channelsIn / step.groups;
  let at = 0; // in the gradient
  for (let channel = 0; channel < channels; channel++) {
    const first = Math.floor((channel * step.groups) / channels) * perGroup;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const factor = gradient[at++];
        if (factor === 0) continue;
        for (let ky = 0; ky < kernelHeight; ky++) {
          const yIn = y * step.stride[0] + ky * step.dilation[0] - step.padding[0];
          if (yIn < 0 || yIn >= heightIn) continue;
          for (let kx = 0; kx < kernelWidth; kx++) {
            const xIn = x * step.stride[1] + kx * step.dilation[1] - step.padding[1];
            if (xIn < 0 || xIn >= widthIn) continue;
            let to = first * mapSize + yIn * widthIn + xIn;
            let weightAt = channel * perGroup * kernelSize + ky * kernelWidth + kx;
            for (let from = 0; from < perGroup; from++, to += mapSize, weightAt += kernelSize) {
              into[to] += factor * weight[weightAt];
            }
          }
        }
      }
    }
  }
}

// To the largest value of each window; of several, to the first, as in PyTorch.
function maxpool2d(step, gradient, output, [input]) {
  const [, heightIn, widthIn] = input.shape;
  const [channels, height, width] = step.shape;
  const { values, gradient: into } = input;

  function largest(channel, y, x, value) {
    for (let ky = 0; ky < step.kernel[0]; ky++) {
      const yIn = y * step.stride[0] + ky * step.dilation[0] - step.padding[0];
      if (yIn < 0 || yIn >= heightIn) continue;
      for (let kx = 0; kx < step.kernel[1]; kx++) {
        const xIn = x * step.stride[1] + kx * step.dilation[1] - step.padding[1];
        const at = (channel * heightIn + yIn) * widthIn + xIn;
        if (xIn >= 0 && xIn < widthIn && values[at] === value) return at;
      }
    }
  }

  let at = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (gradient[at] !== 0) into[largest(channel, y, x, output[at])] += gradient[at];
      }
    }
  }
}

// In equal parts to all of each window.
function average(step, gradient, output, [input]) {
  const [, heightIn, widthIn] = input.shape;
  const [channels, height, width] = step.shape;
  const [kernelHeight, kernelWidth] = step.kernel;
  let at = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const part = gradient[at] / (kernelHeight * kernelWidth);
        for (let ky = 0; ky < kernelHeight; ky++) {
          const row = (channel * heightIn + y * step.stride[0] + ky) * widthIn + x * step.stride[1];
          for (let kx = 0; kx < kernelWidth; kx++) input.gradient[row + kx] += part;
        }
      }
    }
  }
}

function batchnorm({ shape: [channels], scale }, gradient, output, [input]) {
  const size = gradient.length / channels;
  for (let index = 0; index < gradient.length; index++) {
    input.gradient[index] += gradient[index] * scale[Math.floor(index / size)];
  }
}

function linear({ shape: [features], weight }, gradient, output, [input]) {
  const size = input.values.length;
  for (let feature = 0; feature < features; feature++) {
    for (let index = 0; index < size; index++) {
      input.gradient[index] += gradient[feature] * weight[feature * size + index];
    }
  }
}

function relu(step, gradient, output, [input]) {
  for (let index = 0; index < gradient.length; index++) {
    if (output[index] > 0) input.gradient[index] += gradient[index];
  }
}

function add(step, gradient, output, inputs) {
  for (const input of inputs) flatten(step, gradient, output, [input]);
}

function flatten(step, gradient, output, [input]) {
  for (let index = 0; index < gradient.length; index++) input.gradient[index] += gradient[index];
}

function logSoftmax(step, gradient, output, [input]) {
  const sum = gradient.reduce((a, b) => a + b);
  for (let index = 0; index < gradient.length; index++) {
    input.gradient[index] += gradient[index] - sum * Math.exp(output[index]);
  }
}
