// Runs a network on one image, from the data that `network_data` in networks.py makes.
//
// A value is a Float32Array, channel after channel and row after row, as PyTorch has it for one image of a batch.

// The network that `run` takes: its steps, with their parameters as numbers.
export function loadNetwork(data) {
  const steps = data.steps.map((step) => {
    const loaded = { ...step };
    for (const name of ["weight", "bias", "scale", "shift"]) {
      if (step[name]) loaded[name] = decoded(step[name]);
    }
    return loaded;
  });
  return { mean: data.mean, std: data.std, steps };
}

// What the network makes of an image of 28x28 greys, 0 black to 255 white ink: the log-probabilities of the ten
// digits, and what every layer gives.
export function run(network, image) {
  const values = [];
  const shapes = network.steps.map((step) => step.shape);
  for (const step of network.steps) {
    const inputs = step.inputs.map((index) => values[index]);
    values.push(
      step.kind === "image"
        ? Float32Array.from(image, (grey) => (grey / 255 - network.mean) / network.std)
        : KINDS[step.kind](step, inputs, step.inputs.map((index) => shapes[index])),
    );
  }
  return {
    logProbabilities: values[values.length - 1],
    layers: network.steps.map(({ name, kind, shape }, index) => ({ name, kind, shape, values: values[index] })),
  };
}

const KINDS = { conv2d, linear, batchnorm, relu, maxpool2d, average, add, flatten, log_softmax: logSoftmax };

function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

// The outputs along one side whose window has the input at `offset` inside it: those before `end`, from `start` on.
function inside(offset, stride, sizeIn, sizeOut) {
  const start = Math.max(0, Math.ceil(-offset / stride));
  return [start, Math.min(sizeOut, Math.floor((sizeIn - 1 - offset) / stride) + 1)];
}

// One weight after the other, each multiplied with all that it meets: the inner loop runs along a row. The weights of
// four input channels go together, so that each output is read and written once for four products.
function conv2d(step, [input], [[channelsIn, heightIn, widthIn]]) {
  const [channels, height, width] = step.shape;
  const [kernelHeight, kernelWidth] = step.kernel;
  const [strideY, strideX] = step.stride;
  const perGroup = channelsIn / step.groups;
  const [taps, sizeIn] = [kernelHeight * kernelWidth, heightIn * widthIn];
  const { weight, bias } = step;
  const output = new Float32Array(channels * height * width);
  for (let channel = 0; channel < channels; channel++) {
    const to = channel * height * width;
    if (bias) output.fill(bias[channel], to, to + height * width);
    const first = Math.floor((channel * step.groups) / channels) * perGroup;
    for (let from = 0; from < perGroup; from += 4) {
      const more = perGroup - from - 1; // those after this one, which is read with weight 0 for any that is not there
      const toB = more > 0 ? sizeIn : 0;
      const toC = more > 1 ? 2 * sizeIn : 0;
      const toD = more > 2 ? 3 * sizeIn : 0;
      for (let ky = 0; ky < kernelHeight; ky++) {
        const offsetY = ky * step.dilation[0] - step.padding[0];
        const [top, bottom] = inside(offsetY, strideY, heightIn, height);
        for (let kx = 0; kx < kernelWidth; kx++) {
          const at = ((channel * perGroup + from) * kernelHeight + ky) * kernelWidth + kx;
          const a = weight[at];
          const b = more > 0 ? weight[at + taps] : 0;
          const c = more > 1 ? weight[at + 2 * taps] : 0;
          const d = more > 2 ? weight[at + 3 * taps] : 0;
          const offsetX = kx * step.dilation[1] - step.padding[1];
          const [left, right] = inside(offsetX, strideX, widthIn, width);
          for (let y = top; y < bottom; y++) {
            const row = ((first + from) * heightIn + y * strideY + offsetY) * widthIn + offsetX;
            const rowOut = to + y * width;
            for (let x = left; x < right; x++) {
              const i = row + x * strideX;
              output[rowOut + x] += a * input[i] + b * input[i + toB] + c * input[i + toC] + d * input[i + toD];
            }
          }
        }
      }
    }
  }
  return output;
}

function maxpool2d(step, [input], [[, heightIn, widthIn]]) {
  const [channels, height, width] = step.shape;
  const output = new Float32Array(channels * height * width).fill(-Infinity);
  for (let channel = 0; channel < channels; channel++) {
    for (let ky = 0; ky < step.kernel[0]; ky++) {
      const offsetY = ky * step.dilation[0] - step.padding[0];
      const [top, bottom] = inside(offsetY, step.stride[0], heightIn, height);
      for (let kx = 0; kx < step.kernel[1]; kx++) {
        const offsetX = kx * step.dilation[1] - step.padding[1];
        const [left, right] = inside(offsetX, step.stride[1], widthIn, width);
        for (let y = top; y < bottom; y++) {
          const row = (channel * heightIn + y * step.stride[0] + offsetY) * widthIn + offsetX;
          const rowOut = (channel * height + y) * width;
          for (let x = left; x < right; x++) {
            const value = input[row + x * step.stride[1]];
            if (value > output[rowOut + x]) output[rowOut + x] = value;
          }
        }
      }
    }
  }
  return output;
}

// Every window is whole.
function average(step, [input], [[, heightIn, widthIn]]) {
  const [channels, height, width] = step.shape;
  const [kernelHeight, kernelWidth] = step.kernel;
  const output = new Float32Array(channels * height * width);
  let at = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        let sum = 0;
        for (let ky = 0; ky < kernelHeight; ky++) {
          const row = (channel * heightIn + y * step.stride[0] + ky) * widthIn + x * step.stride[1];
          for (let kx = 0; kx < kernelWidth; kx++) sum += input[row + kx];
        }
        output[at] = sum / (kernelHeight * kernelWidth);
      }
    }
  }
  return output;
}

function batchnorm({ shape: [channels], scale, shift }, [input]) {
  const size = input.length / channels;
  const output = new Float32Array(input.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let index = channel * size; index < (channel + 1) * size; index++) {
      output[index] = input[index] * scale[channel] + shift[channel];
    }
  }
  return output;
}

function linear({ shape: [features], weight, bias }, [input]) {
  return Float32Array.from({ length: features }, (_, feature) => {
    let sum = bias ? bias[feature] : 0;
    for (let index = 0; index < input.length; index++) sum += weight[feature * input.length + index] * input[index];
    return sum;
  });
}

function relu(step, [input]) {
  const output = new Float32Array(input.length);
  for (let index = 0; index < input.length; index++) output[index] = Math.max(input[index], 0);
  return output;
}

function add(step, [first, second]) {
  const output = new Float32Array(first.length);
  for (let index = 0; index < first.length; index++) output[index] = first[index] + second[index];
  return output;
}

function flatten(step, [input]) {
  return input; // the same values in the same order
}

function logSoftmax(step, [input]) {
  const highest = input.reduce((a, b) => Math.max(a, b));
  const sum = input.reduce((total, value) => total + Math.exp(value - highest), 0);
  return input.map((value) => value - highest - Math.log(sum));
}
